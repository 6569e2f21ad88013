"""``python -m rnn_jax``, the same as the command ``rnn-jax``."""

import sys

from rnn_jax.cli import main

if __name__ == "__main__":
    sys.exit(main())
