"""These tests need mmdet, which needs mmcv's compiled ops: requirements/detection.txt.

Without it the folder is not collected; an environment that has it runs it.
"""

import importlib.util

collect_ignore_glob = [] if importlib.util.find_spec("mmdet") else ["test_*.py"]
