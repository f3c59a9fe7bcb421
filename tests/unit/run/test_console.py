"""What the chief prints."""

from mnist_dist.run.console import Console


def test_a_jobs_log_has_fewer_loss_lines(capsys):
    for every_s, expected in ((0.0, 3), (3600.0, 1)):
        console = Console(quiet=False, loss_every_s=every_s)
        for batch in (0, 10, 20):
            console.loss(batch, 0.5)
        console.line("Test set")
        lines = capsys.readouterr().out.splitlines()
        assert lines == [f"Batch #{10 * n}\tLoss: 0.500000" for n in range(expected)] + ["Test set"]
