"""`marketstate verify`: checks that published states are correct and fresh."""
