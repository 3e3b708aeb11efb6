"""Speed and memory by length: every system of a study measured in one job, on one device, round by round."""
