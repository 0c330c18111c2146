"""Progress lines: step, elapsed, what is left; rewritten on a terminal only."""

import io

from ui.progress import Progress, clock, line


def test_a_line_tells_step_elapsed_and_what_is_left():
    assert line("ppo", 30, 120, 60) == "ppo  30/120 (25 %)  1:00 elapsed, about 3:00 left"
    assert line("waiting", 0, 0, 5) == "waiting  0:05 elapsed"
    assert clock(3725) == "1:02:05"


def test_a_pipe_gets_a_line_per_message():
    stream = io.StringIO()
    progress = Progress(stream)
    for step in range(50):
        progress.say("training", step, 100)
    progress.say("saving")
    progress.end()
    assert [text.split("  ")[0] for text in stream.getvalue().splitlines()] == ["training", "saving"]


def test_a_terminal_line_is_rewritten():
    stream = io.StringIO()
    stream.isatty = lambda: True
    progress = Progress(stream)
    progress.say("a long message")
    progress.say("short")
    progress.end()
    assert stream.getvalue().count("\r") == 2 and stream.getvalue().count("\n") == 1
