"""`marketstate describe`: what the states of a history are like."""
