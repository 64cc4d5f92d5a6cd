"""`marketstate calibrate`: weights of the regime scores that suit a history."""
