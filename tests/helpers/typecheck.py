"""The runtime type checker under which the tests import the package."""

from beartype import BeartypeConf, beartype

# an int is welcome where a float is asked for, as everywhere else in Python
check = beartype(conf=BeartypeConf(is_pep484_tower=True))
