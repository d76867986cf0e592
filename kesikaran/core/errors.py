"""The one exception that stands for a mistake in what the program was given, and how to quote what was given."""


class InputError(ValueError):
    """One line for the person at the terminal: what was given, what is allowed, what to do.

    The door prints it without a traceback and exits with 1. Anything else that is raised is a
    defect of ours and keeps its traceback.
    """


def printable(text: str) -> str:
    """`text`, or its Python literal where it holds what a terminal should not see: line ends, control characters."""
    return text if text.isprintable() else ascii(text)


def first_line(error: BaseException) -> str:
    """The first line of an error's text, printable, at most 300 characters; its type where it has no text."""
    return printable((str(error).strip().splitlines() or [type(error).__name__])[0])[:300]
