from storage.records import Task
from storage.task_queues import TaskQueues


def task(number, campaign=1):
    return Task(number, campaign, f"p{number}", (1, 2), 1)


def waiting(queues, person, campaign=1):
    return sorted(task_id for queue in queues.of(campaign, person) for task_id in queue)


def test_a_task_is_in_its_campaigns_queue_or_with_the_people_it_is_for():
    queues = TaskQueues()
    queues.put(task(1), 0)
    queues.put(task(2), 0, [7, 8])
    assert [waiting(queues, person) for person in (6, 7, 8)] == [[1], [1, 2], [1, 2]]
    assert queues.waiting([1]) == 2 and queues.waiting([2]) == 0


def test_a_task_moves_when_its_people_change():
    queues = TaskQueues()
    for people in ([7], [8], []):
        queues.put(task(1), 0, people)
    assert waiting(queues, 7) == waiting(queues, 9) == [1]
    assert queues.waiting([1]) == 1


def test_removing_takes_it_out_of_every_queue_once():
    queues = TaskQueues()
    queues.put(task(1), 0, [7, 8])
    queues.remove(task(1))
    queues.remove(task(1))
    assert waiting(queues, 7) == waiting(queues, 8) == []
    assert queues.waiting([1]) == 0
