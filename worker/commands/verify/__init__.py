"""`marketstate verify`: checks that what is published is right and fresh."""
