"""What holds for every test."""

from hypothesis import settings

settings.register_profile("steady", deadline=None)  # no test may depend on being fast
settings.load_profile("steady")
