"""What the page of a subject says of a guide."""

from __future__ import annotations

from bids_sr.records.quality import QualityRecord
from bids_sr.reports.wording import number


def guide_words(quality: QualityRecord | None) -> list[str]:
    """Say whether a guide was used, what it gained and how it was moved, a sentence each.

    Parameters
    ----------
    quality : QualityRecord, optional
        Of the image; without a guide, nothing is said.
    """
    guide = quality.method.guide if quality else None
    if guide is None:
        return []
    if not guide.used:
        why = f": {guide.reason}" if guide.reason else ""
        return [f"{guide.stem} was not used{why}. The result is the one without a guide."]
    words = [f"{guide.stem} guided this image."]
    if guide.gain_decibel is not None:
        less = 100 * (1 - 10 ** (-guide.gain_decibel / 20))
        words.append(
            f"On slices that were held out, the error was {number(less, 2)} % smaller with the "
            f"guide ({number(guide.gain_decibel, 3)} dB; the same network without the guide: "
            f"{number(guide.gain_without_decibel, 2)} dB)."
        )
    if guide.shift_mm is not None:
        words.append(
            "To match the two, the registration moved the centre by "
            f"{number(guide.shift_mm, 2)} mm and turned it by "
            f"{number(guide.rotation_degrees, 2)} degrees."
        )
    return words
