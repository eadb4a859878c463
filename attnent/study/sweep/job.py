"""One notebook as a process of its own: `python -m attnent.study.sweep.job`, told by one line of JSON what to run.

What was complete before is left as it is. Ends with 1 where the notebook could not be run; the last line says why.
"""

import json
import sys
from pathlib import Path

from attnent.study import StudyError
from attnent.study.notebook import run_notebook


def main() -> int:
    """Run the notebook; 0 where an outcome was written, whichever."""
    told = json.loads(sys.stdin.readline())
    try:
        run_notebook(Path(told["notebook"]), told["values"], Path(told["folder"]), again=False)
    except StudyError as error:
        print(error, flush=True)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
