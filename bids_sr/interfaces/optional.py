"""An optional step: the image is still good without it.

If such a step fails, for whatever reason, later steps continue with substitute results,
and the record holds a warning that ends in the sidecar, the report and the decisions
table.  All steps but the input check and super-resolution itself are optional.
"""

from __future__ import annotations

import logging
import time
from typing import Any, ClassVar

from nipype.interfaces.base import BaseInterfaceInputSpec, SimpleInterface, traits

from bids_sr.exceptions import BidsSrError

LOGGER = logging.getLogger(__name__)


class OptionalInputSpec(BaseInterfaceInputSpec):
    """Inputs of every optional step."""

    give_up = traits.Str("", usedefault=True, desc="why the step is left out; empty: try it")


class OptionalStep(SimpleInterface):
    """Do a step, or continue without its result.

    A subclass says in ``without`` what is missing then, does the work in ``_run_step`` and
    returns in ``_do_without`` the results to continue with.

    Notes
    -----
    An expected error (``BidsSrError``) says that the step cannot process this image, which
    another try will not change: it is kept with the results.  Anything else (memory that ran
    out, a full disk, a bug) may be gone in the next run.  The scheduler that runs each step in
    a process of its own also sees when that is killed; it sets ``scheduled``, gets the error,
    and runs the step again with ``give_up``, which the next run does not have.
    """

    without: ClassVar[str] = ""
    scheduled: ClassVar[bool] = False

    def _run_interface(self, runtime: Any) -> Any:
        start, reason = time.monotonic(), str(self.inputs.give_up)
        if not reason:
            try:
                self._run_step(runtime)
            except BidsSrError as error:
                reason = str(error)
            except Exception as error:
                if self.scheduled:
                    raise
                LOGGER.warning("%s", self.without, exc_info=True)
                reason = f"{type(error).__name__}: {error}"
        if reason:
            warning = f"{self.without}: {reason}"
            LOGGER.warning("%s", warning)
            results = self._do_without(reason)
            facts = {"Status": "failed", "Warning": warning} | results.get("record", {})
            self._results = results | {"record": facts}
        if self._results.get("record"):
            self._results["record"]["Seconds"] = round(time.monotonic() - start, 1)
        return runtime

    def _run_step(self, runtime: Any) -> None:
        """Do the work and fill ``_results``."""
        raise NotImplementedError

    def _do_without(self, reason: str) -> dict[str, Any]:
        """Return the results without the step; `record` adds to the common facts."""
        raise NotImplementedError


class StepOfSeveralImages(OptionalStep):
    """Do something with several images, or with those of them that have a result.

    Inputs that come from a step that failed are undefined: schedulers run this step all the same
    (:mod:`bids_sr.run.steps_of_several`).
    """

    def can_lack(self, name: str) -> bool:
        """Tell whether the step is run without an input; otherwise it is left out."""
        return True
