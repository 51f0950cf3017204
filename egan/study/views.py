"""What readers look at of a study: its printed figures, and its page."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from egan.study.comparison import comparisons
from egan.study.figures import write_figures
from egan.study.records import Cell, Folder, Study
from populations.errors import UsageError


def write_views(
    folder: Folder, study: Study, cells: Sequence[Cell], tell: Callable[[str], None]
) -> None:
    """Write `figures/*.png` and `study.html`, the latter where plotly is installed.

    Args:
        folder: where the study lies.
        study: what was compared.
        cells: finished ones.
        tell: told what is lacking.

    Raises:
        UsageError: the data cannot be made.
    """
    found = comparisons(folder, study, cells)
    write_figures(found, folder.path / "figures")
    try:
        from egan.study.page import write_study
    except UsageError as lacking:
        tell(f"There is no study.html: {lacking}")
    else:
        write_study(folder, study, found, cells)
