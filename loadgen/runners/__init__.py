"""Who carries a scenario out: this process, or several."""
