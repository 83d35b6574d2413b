from instar_core.testing import FormatConformance


class TestToy(FormatConformance):
    format = "toy"
