"""A trainer that does what its argument says: a real process with the real protocol, without torch."""

from __future__ import annotations

import os
import sys
import time

from engine.errors import traceback_without_values
from trainer.protocol import Cancelled, EpochEnded, Event, Failed, Finished, Progressed, Started, write_event


def say(event: Event) -> None:
    """Write one event."""
    print(write_event(event), flush=True)


def main(manner: str) -> None:
    """Say what a run of this manner says."""
    say(Started(kind="retrain", pid=os.getpid(), device="cpu"))
    say(Progressed(done=1, total=2, text="features"))
    if manner == "finish":
        say(EpochEnded(epoch=1, max_epochs=1, train_loss=0.5, validation_loss=0.6, validation_auc=None))
        say(Finished(package_path="candidate", package_digest="d", comparison_path=None, mean_auc=None, text="done"))
    elif manner == "fail":
        say(Failed(code="training.test", message="no data", hint="review more", kind="input"))
    elif manner == "die":
        print("KeyError: DOE^JANE", file=sys.stderr)
        print(traceback_without_values(KeyError("DOE^JANE")), file=sys.stderr, flush=True)
        os._exit(9)
    elif manner == "bug":
        print("a library read /scans/DOE^JANE", file=sys.stderr)
        print(traceback_without_values(KeyError("DOE^JANE")), file=sys.stderr, flush=True)
        say(Failed(code="internal", message="a bug", hint="report it", kind="environment"))
    elif manner == "babble":
        print("this is no event", flush=True)
        time.sleep(60)
    elif manner == "stop":
        sys.stdin.readline()
        say(Cancelled(checkpoint_path=None))
    elif manner == "deaf":
        time.sleep(60)


if __name__ == "__main__":
    main(sys.argv[1])
