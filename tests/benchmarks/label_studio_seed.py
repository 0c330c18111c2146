"""Fills a fresh Label Studio with one project, its tasks and its annotators; runs inside Label Studio's environment.

    LABEL_STUDIO_BASE_DATA_DIR=DIR python label_studio_seed.py TASKS.json ANNOTATORS OVERLAP

Prints one JSON object last: the project's id and a token per annotator. Not for our own environment.
"""

import json
import os
import sys
from pathlib import Path

import label_studio
from django.core.management import call_command
from django.core.wsgi import get_wsgi_application

CONFIG = """<View><Text name="prompt" value="$prompt"/><List name="answers" value="$items" title="Answers"/>
<Ranker name="rank" toName="answers"><Bucket name="rank" title="Best first" default="true"/></Ranker></View>"""


def main(tasks_file: str, annotators: int, overlap: int) -> dict:
    """Migrate, then make everything through Label Studio's own models."""
    sys.path.insert(0, str(Path(label_studio.__file__).parent))
    os.environ.setdefault("DJANGO_SETTINGS_MODULE", "label_studio.core.settings.label_studio")
    get_wsgi_application()
    call_command("migrate", "--no-color", verbosity=0)
    from organizations.models import Organization  # noqa: PLC0415 - Django's models exist only after its start
    from projects.models import Project  # noqa: PLC0415
    from rest_framework.authtoken.models import Token  # noqa: PLC0415
    from tasks.models import Task  # noqa: PLC0415
    from users.models import User  # noqa: PLC0415

    people = [
        User.objects.create_user(email=f"annotator{n}@localhost.example", password=None) for n in range(annotators)
    ]
    organization = Organization.create_organization(created_by=people[0], title="benchmark")
    organization.jwt.legacy_api_tokens_enabled = True
    organization.jwt.save()
    for person in people:
        organization.add_user(person)
        person.active_organization = organization
        person.save()
    project = Project.objects.create(
        title="benchmark",
        created_by=people[0],
        organization=organization,
        label_config=CONFIG,
        maximum_annotations=overlap,
    )
    data = json.loads(Path(tasks_file).read_text())
    Task.objects.bulk_create([Task(project=project, data=one, overlap=overlap) for one in data], batch_size=500)
    tokens = [Token.objects.get_or_create(user=person)[0].key for person in people]
    return {"project": project.id, "tokens": tokens}


if __name__ == "__main__":
    print(json.dumps(main(sys.argv[1], int(sys.argv[2]), int(sys.argv[3]))))
