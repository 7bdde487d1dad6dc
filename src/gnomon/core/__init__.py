"""The words of the domain: frozen values and pure rules. No I/O, no clock, no framework."""
