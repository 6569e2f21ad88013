"""What is measured and how: workloads, the oracle before the clock, the timer, the runner."""
