"""What to do about images that cannot be used, and what is said about those of which a decoder complains."""

from kesikaran.config.schema import OnBadImage
from kesikaran.core.errors import InputError
from kesikaran.tracking.runs import Run


def tell_complaints(remarks: dict[str, str]) -> None:
    """One line about the images that are used although libjpeg complains of them (object id -> its words)."""
    if remarks:
        name, words = min(remarks.items())
        print(f"libjpeg complains of {len(remarks)} images that are whole and used (the first: {name}: {words}).")


def settle_refusals(run: Run, reasons: dict[str, str], asked: int, policy: OnBadImage) -> None:
    """Count, list and log the images that could not be read.

    Args:
        reasons: object id -> why.
        asked: images in all.

    Raises:
        InputError: there are some and the policy is `fail`, or none is left.
    """
    run.metrics({"data/images": asked - len(reasons), "data/refused": len(reasons)})
    if reasons:
        run.json(reasons, "refused_images.json")
        tell_refusals(reasons, asked, policy, "refused_images.json of the run")


def tell_refusals(reasons: dict[str, str], asked: int, policy: OnBadImage, listed: str) -> None:
    """Print the first of the images that could not be read. listed: where all of them are found.

    Raises:
        InputError: as `settle_refusals`.
    """
    shown = [f"  {name}: {why}" for name, why in list(reasons.items())[:10]]
    more = [f"  and {len(reasons) - 10} more: {listed}"] if len(reasons) > 10 else []
    print("\n".join([f"Refused {len(reasons)} of {asked} images:", *shown, *more]))
    name, why = next(iter(reasons.items()))
    if len(reasons) == asked:
        raise InputError(f"none of the {asked} images can be used (the first: {name}: {why}); check data.images")
    if policy is OnBadImage.fail:
        raise InputError(
            f"{len(reasons)} of {asked} images were refused (the first: {name}: {why}) and data.on_bad_image=fail; "
            "mend them, or data.on_bad_image=quarantine trains on the others"
        )
