\echo 1 late_requests
PREPARE p1 AS SELECT id, requester, service, gateway, targets, message FROM requests
         JOIN request_messages ON request_messages.request = requests.sequence
         WHERE sender = (SELECT sender FROM requests WHERE id = $1)
             AND notified = 0 AND accepted_at <= $2
         ORDER BY sequence;
\echo 2 late_requests
PREPARE p2 AS UPDATE requests SET notified = 1 WHERE id = $1 AND notified = 0
         RETURNING id AS request_id, queue_id, accepted_at, requester, network;
\echo 3 late_requests
PREPARE p3 AS UPDATE requests SET notified = 1 WHERE requester IN ('answered', 'newcomer')
             AND target = (SELECT target FROM requests WHERE id = $1);
\echo 4 postponing
PREPARE p4 AS SELECT deliveries.sequence, target, place, request_id, queue_id, accepted_at,
         reverse_path, late_notice, requester, network
     FROM replies CROSS JOIN deliveries
     WHERE deliveries.reply = replies.sequence
         AND accepted_at <= $2 AND notified = 0 AND late_notice IS NOT NULL AND NOT (waits_until > $1 AND attempts > 0 AND NOT EXISTS (SELECT 1 FROM delivery_troubles WHERE delivery = deliveries.sequence AND attempt = attempts)) ORDER BY accepted_at LIMIT $3;
\echo 5 postponing
PREPARE p5 AS UPDATE deliveries SET waits_since = $1, waits_until = $2, refused = $3
         WHERE sequence = $4;
\echo 6 postponing
PREPARE p6 AS SELECT deliveries.sequence, target, place, request_id, queue_id, accepted_at,
             reverse_path, late_notice, requester, network
         FROM deliveries JOIN replies ON replies.sequence = deliveries.reply
         WHERE target = $1 AND notified = 0 AND late_notice IS NOT NULL AND accepted_at <= $2
         ORDER BY place;
\echo 7 postponing
PREPARE p7 AS UPDATE deliveries SET turn = 0, notified = 1 WHERE sequence = $1;
\echo 8 reply_port
PREPARE p8 AS SELECT count(*) AS refused, (
             SELECT (SELECT trouble FROM delivery_troubles
                     WHERE delivery = sequence ORDER BY attempt DESC LIMIT 1)
             FROM deliveries WHERE refused = 1 ORDER BY waits_since DESC LIMIT 1
         ) AS refusal
         FROM deliveries WHERE refused = 1;
\echo 9 reply_port
PREPARE p9 AS SELECT began_at, tried_at, waits_until, failures, refuses, trouble, (
             SELECT waits_until FROM deliveries
             WHERE sequence = trial AND waits_until > $2 AND waits_since <= $3 AND NOT EXISTS (
                 SELECT 1 FROM delivery_troubles WHERE delivery = sequence AND attempt = attempts)
         ) AS trial_until
         FROM port_troubles WHERE port = $1;
\echo 10 reply_port
PREPARE p10 AS UPDATE port_troubles SET trial = $1, tried_at = $2 WHERE port = $3;
\echo 11 reply_port
PREPARE p11 AS INSERT INTO port_troubles
             (port, began_at, tried_at, waits_until, failures, refuses, trouble)
         VALUES ($1, $2, $2, $3, 1, $4, $5)
         ON CONFLICT (port) DO UPDATE SET waits_until = excluded.waits_until, trial = NULL,
             failures = port_troubles.failures + 1, refuses = excluded.refuses,
             trouble = excluded.trouble
             WHERE $6 = 1
         RETURNING failures;
\echo 12 reply_port
PREPARE p12 AS DELETE FROM port_troubles WHERE port = $1;
\echo 13 reply_port
PREPARE p13 AS UPDATE deliveries SET waits_since = $1, waits_until = $1
         WHERE refused = 1 AND waits_until > $1 AND EXISTS (
             SELECT 1 FROM delivery_troubles WHERE delivery = sequence AND attempt = attempts);
\echo 14 troubles
PREPARE p14 AS INSERT INTO request_troubles (request, attempt, at, trouble)
             VALUES ($1, $2, $3, $4)
             ON CONFLICT (request, attempt) DO UPDATE SET
                 at = excluded.at, trouble = excluded.trouble;
\echo 15 troubles
PREPARE p15 AS DELETE FROM request_troubles WHERE request = $1 AND attempt <= $2;
\echo 16 troubles
PREPARE p16 AS INSERT INTO delivery_troubles (delivery, attempt, at, trouble)
             VALUES ($1, $2, $3, $4)
             ON CONFLICT (delivery, attempt) DO UPDATE SET
                 at = excluded.at, trouble = excluded.trouble;
\echo 17 troubles
PREPARE p17 AS DELETE FROM delivery_troubles WHERE delivery = $1 AND attempt <= $2;
\echo 18 troubles
PREPARE p18 AS SELECT attempt, at, trouble FROM request_troubles
             WHERE request = $1 ORDER BY attempt;
\echo 19 troubles
PREPARE p19 AS SELECT attempt, at, trouble FROM delivery_troubles
             WHERE delivery = $1 ORDER BY attempt;
\echo 20 queue/drop
PREPARE p20 AS SELECT request_id, deliveries.sequence, queue_id, target, attempts, waits_until, (waits_until > $1 AND attempts > 0 AND NOT EXISTS (SELECT 1 FROM delivery_troubles WHERE delivery = deliveries.sequence AND attempt = attempts)) AS is_in_work
             FROM deliveries JOIN replies ON replies.sequence = deliveries.reply
             WHERE request_id IN ($2, $3) ORDER BY deliveries.sequence;
\echo 21 queue/drop
PREPARE p21 AS SELECT sequence, queue_id, attempts FROM requests WHERE id = $2 AND ($3 = 0 OR (waits_until > $1 AND attempts = 0));
\echo 22 queue/drop
PREPARE p22 AS SELECT EXISTS (SELECT 1 FROM requests WHERE id = $1);
\echo 23 queue/names
PREPARE p23 AS SELECT id, queue_id FROM requests
         WHERE queue_id = $1 OR substr(id, 1, length($2)) = $2
         UNION
         SELECT request_id, queue_id FROM replies
         WHERE queue_id = $1 OR substr(request_id, 1, length($2)) = $2;
\echo 24 queue/reading
PREPARE p24 AS SELECT false AS is_reply, sequence, id AS request_id, queue_id, accepted_at,
         reverse_path AS whom, client, rule, attempts, waits_since, waits_until, turn,
         (SELECT id FROM requests AS front WHERE front.sender = requests.sender AND turn = 1)
             AS front,
         attempt, at, trouble, substr(message, 1, 65536) AS beginning
     FROM requests JOIN request_messages AS own ON own.request = sequence
     LEFT JOIN request_troubles AS last ON last.request = sequence
         AND attempt = (
             SELECT max(attempt) FROM request_troubles AS own WHERE own.request = sequence)
     WHERE id = $1 OR $1 IS NULL
     UNION ALL
     SELECT true, deliveries.sequence, request_id, queue_id, accepted_at,
         target, client, NULL, attempts, waits_since, waits_until, turn,
         (SELECT request_id FROM deliveries AS front
              JOIN replies AS first ON first.sequence = front.reply
          WHERE front.target = deliveries.target AND front.turn = 1),
         attempt, at, trouble, substr(message, 1, 65536)
     FROM deliveries JOIN replies ON replies.sequence = deliveries.reply
     LEFT JOIN delivery_troubles ON delivery = deliveries.sequence
         AND attempt = (
             SELECT max(attempt) FROM delivery_troubles AS own
             WHERE own.delivery = deliveries.sequence)
     WHERE request_id = $1 OR $1 IS NULL
     ORDER BY accepted_at, request_id, is_reply, sequence;
\echo 25 queue/reading
PREPARE p25 AS SELECT client, reverse_path, message
         FROM requests JOIN request_messages ON request = sequence WHERE id = $1;
\echo 26 queue/retry
PREPARE p26 AS UPDATE requests SET waits_since = $1, waits_until = $1
     WHERE (id = $2 OR $2 IS NULL) AND waits_until > $1 AND ($3 = 1 AND (waits_until > $1 AND attempts = 0) OR EXISTS (
         SELECT 1 FROM request_troubles WHERE request = sequence AND attempt = attempts));
\echo 27 queue/retry
PREPARE p27 AS SELECT count(*) FROM requests WHERE (id = $2 OR $2 IS NULL) AND (waits_until > $1 AND attempts = 0);
\echo 28 queue/retry
PREPARE p28 AS UPDATE deliveries SET waits_since = $1, waits_until = $1
     WHERE (reply IN (SELECT sequence FROM replies WHERE request_id = $2) OR $2 IS NULL)
         AND waits_until > $1 AND (attempts = 0 OR EXISTS (
             SELECT 1 FROM delivery_troubles WHERE delivery = sequence AND attempt = attempts));
\echo 29 queue/retry
PREPARE p29 AS UPDATE port_troubles SET waits_until = $1 WHERE waits_until > $1;
\echo 30 queue/selecting
PREPARE p30 AS SELECT id, accepted_at, reverse_path, sender, client, rule, (waits_until > $1 AND attempts = 0) AS is_throttled
     FROM requests ORDER BY sequence;
\echo 31 queue/selecting
PREPARE p31 AS SELECT request_id AS id, accepted_at, sender_path AS reverse_path, sender, client,
         NULL AS rule, false AS is_throttled,
         (SELECT count(*) FROM deliveries WHERE reply = replies.sequence) AS deliveries
     FROM replies ORDER BY sequence;
