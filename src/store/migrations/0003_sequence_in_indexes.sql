-- From the second schema to the third: indexes have the sequence in whose order rows are asked for.
-- Programs of the second schema can go on.

DROP INDEX requests_of_target;
DROP INDEX requests_until;
DROP INDEX requests_since;
DROP INDEX requests_verified;
DROP INDEX deliveries_until;
DROP INDEX deliveries_since;

CREATE INDEX requests_of_target ON requests (target, sequence) WHERE target IS NOT NULL;
CREATE INDEX requests_until ON requests (waits_until, sequence) WHERE turn = 1;
CREATE INDEX requests_since ON requests (waits_since, sequence) WHERE turn = 1;
CREATE INDEX requests_verified ON requests (waits_until, sequence)
    WHERE turn = 1 AND requester = 'verified';
CREATE INDEX deliveries_until ON deliveries (waits_until, sequence) WHERE turn = 1;
CREATE INDEX deliveries_since ON deliveries (waits_since, sequence) WHERE turn = 1;
