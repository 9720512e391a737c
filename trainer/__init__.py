"""Training and retraining of the classifier; a program of its own. The app sees only `config` and `protocol`."""
