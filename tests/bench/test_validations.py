from bench import validations


def test_every_figure_of_validations_is_measured():
    figures = [*validations.evaluated(2), *validations.written(2)]

    assert len({figure.name for figure in figures}) == len(validations.CONDITIONS) * 3 + 2
    assert all(len(figure.runs) == 5 and min(figure.runs) >= 0 for figure in figures)
