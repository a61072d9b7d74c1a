-- Where TimescaleDB is installed: events and health in chunks of a week, packed after a month. Without it nothing happens here.
DO $$
BEGIN
    IF NOT EXISTS (SELECT FROM pg_available_extensions WHERE name = 'timescaledb') THEN
        RETURN;
    END IF;
    CREATE EXTENSION IF NOT EXISTS timescaledb;
    PERFORM create_hypertable('event', 'time', chunk_time_interval => interval '7 days');
    PERFORM create_hypertable('health', 'time', chunk_time_interval => interval '7 days');
    ALTER TABLE event SET (timescaledb.compress, timescaledb.compress_segmentby = 'device');
    ALTER TABLE health SET (timescaledb.compress, timescaledb.compress_segmentby = 'device');
    PERFORM add_compression_policy('event', interval '30 days');
    PERFORM add_compression_policy('health', interval '30 days');
END $$;
