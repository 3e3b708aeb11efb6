"""Equal tuning: every system gets the same number of short runs to choose its constants by validation BLEU."""
