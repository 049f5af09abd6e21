"""One training a work folder."""

from __future__ import annotations

from mmengine.dist import broadcast_object_list, is_main_process
from mmengine.hooks import Hook
from mmengine.runner import Runner
from mmengine.runner.base_loop import BaseLoop

from lbbt_mm.folder_lock import FolderInUseError, FolderLock
from lbbt_mm.neighbours.mmengine import loops_of
from lbbt_mm.registry import HOOKS


@HOOKS.register_module()
class FolderLockHook(Hook):
    """Refuse to train in a work folder where another process trains.

    Two would overwrite each other's checkpoints and logs. The first process holds the
    lock, and all of them end if it cannot have it; a folder that cannot be written is
    left to mmengine's own errors. ``tools/train.py`` takes the lock before anything is
    written, the hook just before the weights are made.

    Raises:
        FolderInUseError: Another process trains there.

    Example::

        custom_hooks = [dict(type="lbbt_mm.FolderLockHook")]
    """

    priority = "HIGHEST"

    def __init__(self) -> None:
        self._lock: FolderLock | None = None

    def before_run(self, runner: Runner) -> None:
        """Take the lock, of a training only."""
        if not isinstance(loops_of(runner)[0], BaseLoop):
            return
        said: list[str | None] = [None]
        if is_main_process():
            try:
                self._lock = FolderLock(runner.work_dir)
            except FolderInUseError as error:
                said = [str(error)]
            except OSError as error:
                runner.logger.warning(
                    f"FolderLockHook: {runner.work_dir} cannot be locked ({error})."
                )
        broadcast_object_list(said)
        if said[0] is not None:
            raise FolderInUseError(said[0])

    def after_run(self, runner: Runner) -> None:
        """Let others in."""
        if self._lock is not None:
            self._lock.release()
            self._lock = None
