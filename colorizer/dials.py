"""The ranges of the dials, in one place for all who check them; importing it costs nothing."""

COLORFULNESS = (0.0, 3.0)  # factor on the chroma
TEMPERATURE = (0.05, 2.0)  # of the distribution over colors: bold to soft
BALANCE = (0.0, 1.0)  # share of the tint over the whole picture that is taken away
RESTRAINT = (0.0, 1.0)  # how far strong colors are read at a higher temperature
WORKING_SIZE = (32, 2048)  # pixels of the short side of the copy that the network sees
GUESSES = ("warmer", "cooler", "greener", "rosier", "plainer")  # other than the first one
DEFAULT_LIKENESS = 0.5
LIKENESS = (0.0, 1.0)  # how far the colors are led towards those of a reference
REACH, DEFAULT_REACH = (0.0, 1.0), 0.5  # of a hint
