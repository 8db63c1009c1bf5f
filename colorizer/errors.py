"""The one exception that is shown to people as it is."""


class ColorizerError(ValueError):
    """A mistake that a person can mend, told in one sentence: what is wrong and what would be right."""
