DROP TABLE keys;
DROP TABLE audit;
DROP TABLE devices;
DROP TABLE sessions;
DROP TABLE users;
