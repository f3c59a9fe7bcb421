"""Whether a scheduler's signal to stop comes early enough: said once."""

from mnist_dist.training.save_deadline import SaveDeadlineCheck


def test_a_save_that_takes_longer_is_said_once_with_the_option_to_give():
    said = []
    lead = SaveDeadlineCheck(20.0, said.append)
    lead.check(1.0, 0.0)  # no save yet
    lead.check(1.0, 19.0)
    assert said == []
    lead.check(1.25, 19.0)
    lead.check(1.25, 30.0)
    assert said == [
        "Stopping takes 20.2 s (a block of steps 1.2, a save 19.0), and between the signal and the "
        "end there are 20, by --stop_lead_s: what is done after the last checkpoint may be lost. "
        "Have it sent earlier (sbatch --signal=USR2@41, and --stop_lead_s=41)."
    ]


def test_without_a_known_lead_nothing_is_said():
    said = []
    SaveDeadlineCheck(0.0, said.append).check(1e6, 1e6)
    assert said == []
