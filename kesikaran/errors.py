"""The one exception that stands for a mistake in what the program was given."""


class InputError(ValueError):
    """One line for the person at the terminal: what was given, what is allowed, what to do.

    The door prints it without a traceback and exits with 1. Anything else that is raised is a
    defect of ours and keeps its traceback.
    """
