"""`marketstate verify`: is what is published right and fresh?"""
