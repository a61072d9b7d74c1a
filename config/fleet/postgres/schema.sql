-- What a fleet of bins has published, for plain PostgreSQL 15 or newer. TimescaleDB adds to it in timescale.sql, if it is there.
-- Telegraf inserts each message into `message`; a trigger sorts it into `event`, which never holds an event twice, and `latest`.

CREATE TABLE event (
    device text NOT NULL,
    install text NOT NULL,
    seq bigint NOT NULL,
    time timestamptz NOT NULL,
    received timestamptz NOT NULL,
    type text NOT NULL,
    bin text,
    label text,
    reason text,
    p double precision,
    p_right double precision,
    payload jsonb NOT NULL,
    PRIMARY KEY (device, install, seq, time)
);
CREATE INDEX event_by_time ON event (time DESC);
CREATE INDEX event_by_type ON event (type, time DESC);

COMMENT ON COLUMN event.time IS 'by the bin''s clock where it was synchronised, else when it was received';

-- Which numbers are in `event`: its primary key must hold the time for TimescaleDB, and an event that comes twice may be received at two times.
CREATE TABLE seen (
    device text NOT NULL,
    install text NOT NULL,
    seq bigint NOT NULL,
    PRIMARY KEY (device, install, seq)
);

-- The newest payload of each retained topic. name: as in `state` or `bin/paper`.
CREATE TABLE latest (
    device text NOT NULL,
    name text NOT NULL,
    received timestamptz NOT NULL,
    payload jsonb NOT NULL,
    PRIMARY KEY (device, name)
);

-- Figures of health over time.
CREATE TABLE health (
    device text NOT NULL,
    time timestamptz NOT NULL,
    temperature_c double precision,
    disk_free_mib double precision,
    memory_mib double precision,
    wifi_dbm double precision,
    outbox bigint,
    dropped bigint
);
CREATE INDEX health_by_device ON health (device, time DESC);

-- Where Telegraf writes to. It stays empty: the trigger keeps what it makes of a row, not the row.
CREATE TABLE message (
    time timestamptz NOT NULL,
    topic text NOT NULL,
    value text
);

CREATE FUNCTION is_json(text) RETURNS boolean LANGUAGE plpgsql IMMUTABLE AS $$
BEGIN
    PERFORM $1::jsonb;
    RETURN true;
EXCEPTION WHEN others THEN
    RETURN false;
END $$;

CREATE FUNCTION take_message() RETURNS trigger LANGUAGE plpgsql SECURITY DEFINER SET search_path = public, pg_temp AS $$
DECLARE
    parts text[] := regexp_match(NEW.topic, '([^/]+)/(availability|info|state|health|journal|bin/[^/]+)$');
    body jsonb;
BEGIN
    IF parts IS NULL OR length(NEW.value) > 65536 THEN
        RETURN NULL;
    END IF;
    IF parts[2] = 'availability' THEN
        body := to_jsonb(NEW.value);
    ELSIF is_json(NEW.value) THEN
        body := NEW.value::jsonb;
    ELSE
        RETURN NULL;
    END IF;
    IF parts[2] = 'journal' THEN
        PERFORM take_event(NEW.time, body);
        RETURN NULL;
    END IF;
    INSERT INTO latest VALUES (parts[1], parts[2], NEW.time, body)
        ON CONFLICT (device, name) DO UPDATE SET received = excluded.received, payload = excluded.payload;
    IF parts[2] = 'health' THEN
        INSERT INTO health VALUES (
            parts[1], NEW.time, (body->>'temperature_c')::float, (body->>'disk_free_mib')::float, (body->>'memory_mib')::float,
            (body->>'wifi_dbm')::float, (body->>'outbox')::bigint, (body->>'dropped')::bigint);
    END IF;
    RETURN NULL;
EXCEPTION WHEN data_exception OR not_null_violation OR check_violation THEN
    RETURN NULL;  -- a payload of other types: one message less, not a batch
END $$;

CREATE FUNCTION take_event(received timestamptz, body jsonb) RETURNS void LANGUAGE plpgsql AS $$
BEGIN
    INSERT INTO seen VALUES (body->>'device', coalesce(body->>'install', ''), (body->>'seq')::bigint) ON CONFLICT DO NOTHING;
    IF NOT FOUND THEN
        RETURN;
    END IF;
    INSERT INTO event VALUES (
        body->>'device', coalesce(body->>'install', ''), (body->>'seq')::bigint,
        CASE WHEN body->>'clock' = 'synced' THEN (body->>'time')::timestamptz ELSE received END, received,
        body->>'type', body->>'bin', body->>'label', body->>'reason', (body->>'p')::float, (body->>'p_right')::float, body);
END $$;

CREATE TRIGGER take_message BEFORE INSERT ON message FOR EACH ROW EXECUTE FUNCTION take_message();

-- One line a device: what it is doing, and how bad that is. Sort by `badness` to see the worst first.
CREATE VIEW fleet AS
SELECT
    state.device,
    coalesce(nullif(info.payload->>'title', ''), state.device) AS title,
    info.payload->>'location' AS location,
    coalesce(availability.payload #>> '{}', 'offline') AS availability,
    CASE WHEN availability.payload #>> '{}' = 'online' THEN state.payload->>'mode' ELSE 'offline' END AS mode,
    state.payload->'fault'->>'message' AS fault,
    coalesce(full_bins.names, '') AS full_bins,
    (health.payload->>'outbox')::bigint AS outbox,
    (health.payload->>'restarts')::bigint AS restarts,
    (health.payload->>'temperature_c')::float AS temperature_c,
    state.received AS heard,
    CASE WHEN availability.payload #>> '{}' IS DISTINCT FROM 'online' THEN 100 ELSE 0 END
        + CASE WHEN state.payload->>'mode' = 'fault' THEN 80 ELSE 0 END
        + 20 * coalesce(full_bins.n, 0)
        + CASE WHEN (health.payload->>'dropped')::bigint > 0 THEN 10 ELSE 0 END
        + CASE WHEN (health.payload->>'throttled')::boolean THEN 5 ELSE 0 END AS badness
FROM latest AS state
LEFT JOIN latest AS info ON info.device = state.device AND info.name = 'info'
LEFT JOIN latest AS availability ON availability.device = state.device AND availability.name = 'availability'
LEFT JOIN latest AS health ON health.device = state.device AND health.name = 'health'
LEFT JOIN (
    SELECT device, count(*) AS n, string_agg(substr(name, 5), ', ' ORDER BY name) AS names
    FROM latest WHERE name LIKE 'bin/%' AND (payload->>'full')::boolean GROUP BY device
) AS full_bins ON full_bins.device = state.device
WHERE state.name = 'state';

-- Every bin of every device, as it is now.
CREATE VIEW bins AS
SELECT
    device,
    substr(name, 5) AS bin,
    (payload->>'fill_percent')::float AS fill_percent,
    (payload->>'full')::boolean AS is_full,
    (payload->>'items')::bigint AS items,
    (payload->'since_emptied'->>'items')::bigint AS items_since_emptied,
    (payload->'since_emptied'->>'contamination')::float AS contamination,
    nullif(payload->>'emptied', '')::timestamptz AS emptied
FROM latest WHERE name LIKE 'bin/%';

-- Totals of what was received, as in `totals` of a device's state.
CREATE VIEW totals AS
SELECT
    device,
    bin,
    count(*) FILTER (WHERE type = 'item_sorted') AS sorted,
    count(*) FILTER (WHERE type = 'item_rejected') AS rejected,
    count(*) FILTER (WHERE type = 'item_interrupted') AS interrupted,
    count(*) FILTER (WHERE type = 'jam') AS jams,
    coalesce(sum(1 - coalesce(p_right, p)) FILTER (WHERE type = 'item_sorted'), 0) AS contamination
FROM event WHERE bin IS NOT NULL AND type IN ('item_sorted', 'item_rejected', 'item_interrupted', 'jam') GROUP BY device, bin;
