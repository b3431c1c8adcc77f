"""The audit table is partitioned by month and takes additions only."""

from django.db import migrations

FORWARD = """
DROP TABLE radiology_auditevent;
CREATE SEQUENCE radiology_auditevent_seq;
CREATE TABLE radiology_auditevent (
    id bigint NOT NULL DEFAULT nextval('radiology_auditevent_seq'),
    at timestamptz NOT NULL,
    event varchar(64) COLLATE "C" NOT NULL,
    action varchar(1) NOT NULL,
    succeeded boolean NOT NULL,
    agent varchar(200) NOT NULL,
    address inet NULL,
    study_instance_uid varchar(64) COLLATE "C" NOT NULL,
    detail jsonb NOT NULL,
    patient_ref_id bigint NULL,
    site_id bigint NULL,
    user_id bigint NULL,
    PRIMARY KEY (id, at)
) PARTITION BY RANGE (at);
ALTER SEQUENCE radiology_auditevent_seq OWNED BY radiology_auditevent.id;
CREATE TABLE radiology_auditevent_default PARTITION OF radiology_auditevent DEFAULT;
CREATE INDEX audit_by_id ON radiology_auditevent (id DESC);
CREATE INDEX audit_by_user ON radiology_auditevent (user_id, id DESC);
CREATE INDEX audit_by_patient ON radiology_auditevent (patient_ref_id, id DESC);
CREATE INDEX audit_by_study ON radiology_auditevent (study_instance_uid, id DESC);
CREATE INDEX audit_by_event ON radiology_auditevent (event, id DESC);
CREATE FUNCTION radiology_auditevent_append_only() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    IF coalesce(current_setting('sinar.audit_upkeep', true), '') = 'on' THEN
        RETURN CASE WHEN TG_OP = 'DELETE' THEN OLD ELSE NEW END;
    END IF;
    RAISE EXCEPTION 'audit events are never changed or deleted';
END $$;
CREATE TRIGGER append_only BEFORE UPDATE OR DELETE ON radiology_auditevent
    FOR EACH ROW EXECUTE FUNCTION radiology_auditevent_append_only();
"""


class Migration(migrations.Migration):
    dependencies = [("radiology", "0001_initial")]
    operations = [migrations.RunSQL(FORWARD, migrations.RunSQL.noop)]
