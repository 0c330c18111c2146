"""From which role on each Gradio handler and each HTTP route opens: one line for every door. No tests."""

ROLES = ("nobody", "annotator", "reviewer", "lead", "admin")

HANDLERS = {
    "annotator": """
        / ui.navigation.build.on_load
        /work ui.navigation.build.on_load
    """,
    "reviewer": """
        /leaderboard ui.navigation.build.on_load
        /leaderboard ui.leaderboard_page.open_page
        /leaderboard ui.leaderboard_page.choose
    """,
    "lead": """
        /campaigns ui.navigation.build.on_load
        /campaigns ui.campaigns_page.open_page
        /campaigns ui.campaigns_page.create
        /campaigns ui.campaigns_page.refresh
        /campaigns ui.campaign_data.add_prompts
        /campaigns ui.campaign_data.import_here
        /campaigns ui.campaign_data.import_upload
        /campaigns ui.campaign_data.open_data
        /campaigns ui.campaign_form.preview
        /campaigns ui.campaign_form.save
        /campaigns ui.campaign_form.use_scales
        /campaigns ui.campaign_form.write_completions
        /campaigns ui.campaign_members.add
        /campaigns ui.campaign_members.open_members
        /campaigns ui.campaign_members.remove
        /campaigns ui.campaign_quality.act_on_answer
        /campaigns ui.campaign_quality.act_on_person
        /campaigns ui.campaign_quality.open_quality
        /campaigns ui.campaign_quality.show_answers
        /campaigns ui.campaign_tasks.act_on_list
        /campaigns ui.campaign_tasks.assign_found
        /campaigns ui.campaign_tasks.assign_task
        /campaigns ui.campaign_tasks.make_check
        /campaigns ui.campaign_tasks.open_list
        /campaigns ui.campaign_tasks.search
        /campaigns ui.campaigns_page.act
        /campaigns ui.campaigns_page.after_import
        /preview ui.navigation.build.on_load
        /runs ui.navigation.build.on_load
        /runs ui.runs_page.open_page
        /runs ui.runs_page.change_kind
        /runs ui.runs_page.start_run
        /runs ui.runs_page.act_on_list
        /runs ui.runs_page.cancel_run
        /runs ui.runs_page.show_end
        /runs ui.runs_page.refresh
        /runs ui.run_actions.save_marks
        /runs ui.runs_page.act_on_run
        /runs ui.runs_page.check_run
        /runs ui.runs_page.compare
        /runs ui.runs_page.marks
        /leaderboard ui.leaderboard_page.act
        /leaderboard ui.leaderboard_page.compare
        /people ui.navigation.build.on_load
        /people ui.people_page.open_page
        /people ui.people_page.filter_people
        /people ui.people_page.invite
        /people ui.people_page.act_on_invitation
    """,
    "admin": """
        /people ui.people_page.act_on_person
    """,
}

ROUTES = {
    "nobody": """
        GET /healthz
        GET /vendor/*
        GET /login
        POST /login
        GET /join
        POST /join
        GET /password
        POST /password
        GET /logout
        POST /logout
        GET /favicon.ico
        GET /robots.txt
        GET /theme.css
        GET /gradio_api/theme.css
        GET /gradio_api/startup-events
        GET /static/{path:path}
        GET /assets/{path:path}
        GET /api/v1/openapi.json
    """,
    "annotator": """
        GET /
        HEAD /
        GET /work
        GET /work/
        GET /account
        POST /account/sign-out
        POST /account/password
        POST /account/keys
        POST /account/keys/revoke
        POST /account/consents/withdraw
        GET /rank/board
        GET /board_worker.js
        POST /rank/next
        POST /rank/answer
        POST /rank/renew
        POST /rank/release
        POST /rank/consent
        POST /rank/revise
        POST /rank/work
        POST /rank/withdraw
        GET /api/v1/me
        POST /api/v1/tasks/claim
        POST /api/v1/rankings
        GET /api/v1/answers
        POST /api/v1/answers/{submission}/revise
        POST /api/v1/tasks/{assignment}/release
        POST /api/v1/tasks/{assignment}/renew
        GET /gradio_api/login_check
        GET /gradio_api/login_check/
        GET /gradio_api/app_id
        GET /gradio_api/app_id/
        GET /gradio_api/heartbeat/{session_hash}
        POST /gradio_api/reset
        POST /gradio_api/reset/
        POST /gradio_api/api/{api_name}
        POST /gradio_api/api/{api_name}/
        POST /gradio_api/run/{api_name}
        POST /gradio_api/run/{api_name}/
        POST /gradio_api/call/{api_name}
        POST /gradio_api/call/{api_name}/
        POST /gradio_api/call/v2/{api_name}
        POST /gradio_api/call/v2/{api_name}/
        GET /gradio_api/call/{api_name}/{event_id}
        GET /gradio_api/call/v2/{api_name}/{event_id}
        POST /gradio_api/queue/join
        GET /gradio_api/queue/data
        GET /gradio_api/queue/status
        POST /gradio_api/cancel
        POST /gradio_api/component_server
        POST /gradio_api/component_server/
    """,
    "reviewer": """
        GET /leaderboard
        GET /leaderboard/
    """,
    "lead": """
        GET /campaigns
        GET /campaigns/
        GET /preview
        GET /preview/
        POST /preview/next
        GET /runs
        GET /runs/
        GET /people
        GET /people/
        GET /api/v1/campaigns
        POST /api/v1/campaigns
        PATCH /api/v1/campaigns/{campaign}
        GET /api/v1/campaigns/{campaign}/policy
        POST /api/v1/campaigns/{campaign}/policy
        DELETE /api/v1/campaigns/{campaign}/checks/{task_id}
        DELETE /api/v1/campaigns/{campaign}/members/{person_id}
        GET /api/v1/campaigns/{campaign}
        GET /api/v1/campaigns/{campaign}/annotators
        GET /api/v1/campaigns/{campaign}/answers
        GET /api/v1/campaigns/{campaign}/checks
        GET /api/v1/campaigns/{campaign}/guidelines
        GET /api/v1/campaigns/{campaign}/members
        GET /api/v1/campaigns/{campaign}/quality
        GET /api/v1/campaigns/{campaign}/setup
        GET /api/v1/campaigns/{campaign}/tasks
        GET /api/v1/campaigns/{campaign}/tasks/{task_id}
        PATCH /api/v1/campaigns/{campaign}/setup
        PATCH /api/v1/campaigns/{campaign}/tasks/{task_id}
        POST /api/v1/campaigns/{campaign}/assignments
        POST /api/v1/campaigns/{campaign}/checks
        POST /api/v1/campaigns/{campaign}/members
        PUT /api/v1/campaigns/{campaign}/annotators/{person_id}
        PUT /api/v1/campaigns/{campaign}/answers/{submission_id}
        POST /api/v1/runs/preflight
        GET /api/v1/versions
        GET /api/v1/report
        POST /api/v1/imports
        GET /api/v1/exports/{form}
        GET /api/v1/runs
        POST /api/v1/runs
        GET /api/v1/runs/{run_id}
        PATCH /api/v1/runs/{run_id}
        DELETE /api/v1/runs/{run_id}
        GET /api/v1/runs/{run_id}/metrics
        POST /api/v1/runs/{run_id}/cancel
        POST /api/v1/runs/{run_id}/resume
        POST /api/v1/runs/{run_id}/again
        GET /api/v1/runs/{run_id}/events
        GET /api/v1/runs/events
        GET /api/v1/invitations
        POST /api/v1/invitations
        DELETE /api/v1/invitations/{invitation_id}
        GET /gradio_api/file={path_or_url:path}
        HEAD /gradio_api/file={path_or_url:path}
        GET /gradio_api/file/{path:path}
        POST /gradio_api/upload
        GET /gradio_api/upload_progress
    """,
    "admin": """
        GET /config
        GET /config/
        GET /openapi.json
        GET /gradio_api/info
        GET /gradio_api/info/
        GET /gradio_api/openapi.json
        GET /api/v1/people
        POST /api/v1/people
        POST /api/v1/people/{person_id}/role
        POST /api/v1/people/{person_id}/sign-out
        POST /api/v1/people/{person_id}/state
        POST /api/v1/people/{person_id}/password-link
        GET /api/v1/people/{person_id}/holdings
        POST /api/v1/people/{person_id}/erase
        GET /api/v1/people/{person_id}/keys
        POST /api/v1/people/{person_id}/keys
        DELETE /api/v1/keys/{key_id}
    """,
    "closed": """
        POST /login/
        GET /svelte/{path:path}
        GET /pwa_icon
        GET /pwa_icon/{size}
        GET /manifest.json
        GET /monitoring
        GET /monitoring/summary
        GET /monitoring/{key}
        GET /gradio_api/user
        GET /gradio_api/user/
        GET /gradio_api/token
        GET /gradio_api/token/
        GET /gradio_api/dev/reload
        GET /gradio_api/runs
        GET /gradio_api/runs/
        GET /gradio_api/deep_link
        GET /gradio_api/custom_component/{id}/{environment}/{type}/{file_name}
        GET /gradio_api/proxy={url_path:path}
        HEAD /gradio_api/proxy={url_path:path}
        POST /gradio_api/stream/{event_id}
        POST /gradio_api/stream/{event_id}/close
        GET /gradio_api/stream/{session_hash}/{run}/{component_id}/playlist.m3u8
        GET /gradio_api/stream/{session_hash}/{run}/{component_id}/{segment_id}.{ext}
        GET /gradio_api/stream/{session_hash}/{run}/{component_id}/playlist-file
        POST /gradio_api/process_recording
        POST /gradio_api/vibe-edit
        POST /gradio_api/vibe-edit/
        POST /gradio_api/undo-vibe-edit
        POST /gradio_api/undo-vibe-edit/
        GET /gradio_api/vibe-code
        GET /gradio_api/vibe-code/
        POST /gradio_api/vibe-code
        POST /gradio_api/vibe-code/
        POST /gradio_api/vibe-starter-queries
        POST /gradio_api/vibe-starter-queries/
    """,
}


def table(texts: dict[str, str]) -> dict[str, str]:
    """Door -> the role from which on it opens."""
    return {line.strip(): role for role, text in texts.items() for line in text.splitlines() if line.strip()}


OPEN_FROM = {"handlers": table(HANDLERS), "routes": table(ROUTES)}
