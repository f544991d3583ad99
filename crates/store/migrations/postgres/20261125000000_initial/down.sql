DROP TABLE keys;
DROP TABLE outbox;
DROP TABLE audit;
DROP TABLE devices;
DROP TABLE sessions;
DROP TABLE memberships;
DROP TABLE users;
