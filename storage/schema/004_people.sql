-- Deactivated accounts, sign-ins, password links, consent, pseudonyms, accounts of the Hub, backups, erasures.
-- Append-only but for an erasure, which writes the whole file anew (storage/erasure.py).

CREATE TABLE person_state (person_id INTEGER NOT NULL, seq BIGINT NOT NULL, active BOOLEAN NOT NULL, changed_by INTEGER, created TIMESTAMPTZ NOT NULL);
CREATE TABLE person_signin (
    person_id INTEGER NOT NULL,
    way VARCHAR NOT NULL,                   -- password, link, invitation, hub
    created TIMESTAMPTZ NOT NULL
);
CREATE TABLE password_link (
    token_hash VARCHAR NOT NULL,
    person_id INTEGER NOT NULL,
    created_by INTEGER,
    expires TIMESTAMPTZ NOT NULL,
    created TIMESTAMPTZ NOT NULL
);
CREATE TABLE password_link_use (token_hash VARCHAR NOT NULL, created TIMESTAMPTZ NOT NULL);
CREATE TABLE invitation_revocation (token_hash VARCHAR NOT NULL, revoked_by INTEGER, created TIMESTAMPTZ NOT NULL);
CREATE TABLE api_key_use (key_id INTEGER NOT NULL, created TIMESTAMPTZ NOT NULL);   -- one row an hour at most
CREATE TABLE person_identity (
    person_id INTEGER NOT NULL,
    provider VARCHAR NOT NULL,
    subject VARCHAR NOT NULL,               -- the provider's own id, which outlives a change of name
    listed_role VARCHAR NOT NULL,           -- the role that the settings gave at that sign-in
    created TIMESTAMPTZ NOT NULL
);

CREATE TABLE consent (
    person_id INTEGER NOT NULL,
    campaign_id INTEGER NOT NULL,
    seq BIGINT NOT NULL,
    version INTEGER,                        -- of the text agreed to; null: withdrawn
    created TIMESTAMPTZ NOT NULL
);
CREATE TABLE pseudonym (
    person_id INTEGER NOT NULL,
    number INTEGER NOT NULL,                -- random; exports carry it, negated, in the place of the person's id
    created TIMESTAMPTZ NOT NULL
);

CREATE TABLE backup_file (path VARCHAR NOT NULL, watermark BIGINT NOT NULL, size BIGINT NOT NULL, created TIMESTAMPTZ NOT NULL);
CREATE TABLE erasure (                      -- that somebody was erased, not who
    erasure_id INTEGER NOT NULL,
    answers BIGINT NOT NULL,
    kept BOOLEAN NOT NULL,                  -- whether the answers stay, under "erased-N"
    highest_person INTEGER NOT NULL,        -- the highest id given so far: none is given twice
    erased_by INTEGER,
    created TIMESTAMPTZ NOT NULL
);

CREATE OR REPLACE VIEW person_now AS
SELECT person_id, name, name_key, role, kind, created, coalesce(active, true) AS active
FROM person JOIN (SELECT person_id, arg_max(role, seq) AS role FROM person_role GROUP BY ALL) USING (person_id)
LEFT JOIN (SELECT person_id, arg_max(active, seq) AS active FROM person_state GROUP BY ALL) USING (person_id);

CREATE VIEW consent_now AS
SELECT person_id, campaign_id, arg_max_null(version, seq) AS version, max(created) AS created
FROM consent GROUP BY person_id, campaign_id;
