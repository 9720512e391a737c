"""Scripts that measure. Threads wait for each other as in the program, which must be said before torch is loaded."""

from engine.inference.threads import wait_passively

wait_passively()
