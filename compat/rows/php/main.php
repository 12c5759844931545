<?php
// Runs the list of PHP's extension (libmongoc) once: php main.php '{"uri": …, "admin_uri": …, "rows": […]}'. Prints one JSON
// object a line: first {"version"}, then {"row", "needs"} with value, error or absent. Debian has the extension without the
// PHP library on top, so the rows use the driver's own classes.
use MongoDB\BSON;
use MongoDB\Driver\{BulkWrite, Command, Cursor, Manager, Query, ReadConcern, ReadPreference, ServerApi, WriteConcern};

error_reporting(E_ALL & ~E_DEPRECATED);
$asked = json_decode($argv[1], true);
const VOLATILE = ['$clusterTime', 'operationTime', 'topologyVersion', 'localTime', 'connectionId', 'lastWrite', 'electionId'];
$rows = [];

function row(string $name, string $needs, callable $work): void
{
    global $rows;
    $rows[] = [$name, $needs, $work];
}

function plain(mixed $value): mixed
{
    if ($value instanceof BSON\ObjectId || $value instanceof BSON\Timestamp) {
        return (new ReflectionClass($value))->getShortName();
    }
    if ($value instanceof BSON\Binary) {
        return strlen($value->getData()) . ' bytes ' . substr(hash('sha256', $value->getData()), 0, 16);
    }
    if (is_object($value) && !($value instanceof stdClass)) {
        return get_class($value) . ' ' . (method_exists($value, '__toString') ? (string) $value : json_encode($value));
    }
    if (is_object($value) || (is_array($value) && !array_is_list($value))) {
        $found = new stdClass();
        foreach ((array) $value as $key => $each) {
            if (!in_array($key, VOLATILE, true)) {
                $found->{$key} = plain($each);
            }
        }
        return $found;
    }
    if (is_array($value)) {
        return array_map('plain', $value);
    }
    return is_float($value) && !is_finite($value) ? (string) $value : $value;
}

function scrub(string $text): string
{
    $text = preg_replace('/cursor id \d+/', 'cursor id N', $text);
    $text = preg_replace('/Executor error during \w+( command)? :: caused by :: /', '', $text);
    $text = preg_replace('/UUID\("[-0-9a-f]+"\)/', 'UUID', $text);
    return preg_replace(['/txnNumber: \d+/', '/, \$clusterTime: .*?\} \}/'], ['txnNumber: N', ''], $text);
}

function fault(Throwable $error): array
{
    $found = ['error' => get_class($error), 'message' => scrub($error->getMessage()), 'code' => $error->getCode()];
    if ($error instanceof MongoDB\Driver\Exception\BulkWriteException) {
        foreach ($error->getWriteResult()->getWriteErrors() as $each) {
            $found['writeErrors'][] = [$each->getCode(), $each->getIndex(), $each->getMessage(), plain($each->getInfo())];
        }
        $concern = $error->getWriteResult()->getWriteConcernError();
        $found['concern'] = $concern ? [$concern->getCode(), $concern->getMessage()] : null;
    }
    if ($error instanceof MongoDB\Driver\Exception\RuntimeException) {
        $labels = ['TransientTransactionError', 'UnknownTransactionCommitResult', 'RetryableWriteError'];
        $found['labels'] = array_values(array_filter($labels, fn ($label) => $error->hasErrorLabel($label)));
    }
    return $found;
}

function caught(callable $work): mixed
{
    try {
        return plain($work());
    } catch (MongoDB\Driver\Exception\Exception $error) {
        return fault($error);
    }
}

final class Trial
{
    public Manager $manager;
    public string $things;

    public function __construct(public array $asked, public string $name)
    {
        $this->manager = $this->make();
        $this->things = "$name.things";
    }

    public function make(array $options = [], array $driver = []): Manager
    {
        // Managers of the same options share their sockets.
        return new Manager($this->asked['uri'], $options + ['serverSelectionTimeoutMS' => 20000], $driver + ['disableClientPersistence' => true]);
    }

    public function run(array|object $command, ?string $database = null, array $options = []): array
    {
        return $this->manager->executeCommand($database ?? $this->name, new Command($command), $options)->toArray();
    }

    public function find(array $filter = [], array $options = [], ?string $where = null, array $how = []): array
    {
        return $this->manager->executeQuery($where ?? $this->things, new Query($filter, $options), $how)->toArray();
    }

    public function write(array $work, array $how = [], array $options = [], ?Manager $manager = null, ?string $where = null): MongoDB\Driver\WriteResult
    {
        $bulk = new BulkWrite($options);
        foreach ($work as [$method, $arguments]) {
            $bulk->$method(...$arguments);
        }
        return ($manager ?? $this->manager)->executeBulkWrite($where ?? $this->things, $bulk, $how);
    }

    public function insert(array ...$documents): MongoDB\Driver\WriteResult
    {
        return $this->write(array_map(fn ($document) => ['insert', [$document]], $documents));
    }

    public function fill(int $number): void
    {
        $this->insert(...array_map(fn ($n) => ['_id' => $n, 'n' => $n, 'group' => $n % 5], range(0, $number - 1)));
    }

    public function count(array $filter = []): int
    {
        return count($this->find($filter, ['projection' => ['_id' => 1]]));
    }

    public function failing(array $data, callable $work): mixed
    {
        $root = new Manager($this->asked['admin_uri'], [], ['disableClientPersistence' => true]);
        $set = fn ($mode) => $root->executeCommand('admin', new Command(['configureFailPoint' => 'failCommand', 'mode' => $mode, 'data' => $data]));
        $set(['times' => 1]);
        try {
            return $work();
        } finally {
            $root->executeCommand('admin', new Command(['configureFailPoint' => 'failCommand', 'mode' => 'off']));
        }
    }
}

row('connect: ping, topology', 'any', function (Trial $t) {
    $ping = $t->run(['ping' => 1], 'admin')[0]->ok;
    $types = array_map(fn ($server) => $server->getType(), $t->manager->getServers()); // in the order in which they answered
    $hosts = array_map(fn ($server) => $server->getHost() . ':' . $server->getPort(), $t->manager->getServers());
    sort($types);
    return [$ping, $types, array_fill_keys($hosts, 'there'), plain($t->run(['buildInfo' => 1], 'admin')[0]->version)];
});
row('hello, field by field', 'any', function (Trial $t) {
    $hello = $t->run(['hello' => 1])[0];
    return [$hello, array_keys((array) $hello)];
});
row('CRUD', 'any', function (Trial $t) {
    $t->fill(250);
    $done = $t->write([
        ['update', [['_id' => 1], ['$inc' => ['n' => 5]]]],
        ['update', [['group' => 2], ['$set' => ['x' => 1]], ['multi' => true]]],
        ['update', [['_id' => 'up'], ['$set' => ['y' => 1]], ['upsert' => true]]],
        ['delete', [['_id' => 4], ['limit' => 1]]],
        ['delete', [['group' => 3]]],
    ]);
    $found = $t->find(['n' => ['$lt' => 9]], ['sort' => ['_id' => 1], 'batchSize' => 2]);
    $page = $t->find([], ['sort' => ['n' => -1], 'skip' => 5, 'limit' => 5]);
    $counts = [$done->getInsertedCount(), $done->getMatchedCount(), $done->getModifiedCount(), $done->getUpsertedCount(), $done->getDeletedCount()];
    return [$counts, $found, $page, $t->count(), $t->run(['distinct' => 'things', 'key' => 'group'])[0]->values];
});
row('bulk writes with errors', 'any', function (Trial $t) {
    $t->fill(3);
    $clash = [['insert', [['_id' => 1]]], ['insert', [['_id' => 30]]], ['insert', [['_id' => 2]]]];
    return [caught(fn () => $t->write($clash)), caught(fn () => $t->write($clash, [], ['ordered' => false])), $t->count()];
});
row('aggregation, $out', 'any', function (Trial $t) {
    $t->fill(50);
    $group = ['$group' => ['_id' => '$group', 'sum' => ['$sum' => '$n']]];
    $command = ['aggregate' => 'things', 'pipeline' => [$group, ['$sort' => ['_id' => 1]]], 'cursor' => new stdClass()];
    $found = $t->run($command);
    $t->run(['aggregate' => 'things', 'pipeline' => [$group, ['$out' => 'written']], 'cursor' => new stdClass()]);
    return [$found, count($t->find([], [], "$t->name.written"))];
});
row('indexes, explain, collation', 'any', function (Trial $t) {
    $t->fill(20);
    $made = $t->run(['createIndexes' => 'things', 'indexes' => [['key' => ['n' => 1], 'name' => 'n_1', 'unique' => true]]])[0];
    $plan = $t->run(['explain' => ['find' => 'things', 'filter' => ['n' => 7]], 'verbosity' => 'executionStats'])[0];
    $listed = array_map(fn ($each) => $each->name, $t->run(['listIndexes' => 'things']));
    $folded = $t->find(['name' => 'X'], ['collation' => ['locale' => 'en', 'strength' => 1]]);
    return [$made, $plan->executionStats->totalDocsExamined, $listed, $folded];
});
row('every BSON type there and back', 'any', function (Trial $t) {
    $t->insert([
        '_id' => 1, 'long' => 1152921504606846976, 'decimal' => new BSON\Decimal128('1.10'), 'date' => new BSON\UTCDateTime(1700000000678),
        'bin' => new BSON\Binary("\0\1", 5), 'min' => new BSON\MinKey(), 'max' => new BSON\MaxKey(), 're' => new BSON\Regex('^a', 'i'),
        'code' => new BSON\Javascript('1', ['x' => 1]), 'ts' => new BSON\Timestamp(1, 2), 'none' => null, 'nan' => NAN, 'text' => "ünïcode \0",
    ]);
    return $t->find()[0];
});
row('transactions: commit and abort', 'set', function (Trial $t) {
    $t->fill(3);
    $session = $t->manager->startSession();
    $session->startTransaction();
    $t->write([['update', [['_id' => 1], ['$inc' => ['n' => 100]]]]], ['session' => $session]);
    $outside = $t->find(['_id' => 1]);
    $session->commitTransaction();
    $session->startTransaction();
    $t->write([['delete', [[]]]], ['session' => $session]);
    $session->abortTransaction();
    return [$outside, $t->find()];
});
row('write conflict of two transactions', 'set', function (Trial $t) {
    $t->fill(1);
    [$first, $second] = [$t->manager->startSession(), $t->manager->startSession()];
    $first->startTransaction();
    $second->startTransaction();
    $t->write([['update', [['_id' => 0], ['$set' => ['by' => 1]]]]], ['session' => $first]);
    $clash = caught(fn () => $t->write([['update', [['_id' => 0], ['$set' => ['by' => 2]]]]], ['session' => $second]));
    $first->commitTransaction();
    return [$clash, $t->find()];
});
row('change streams', 'set', function (Trial $t) {
    $t->fill(1);
    $command = ['aggregate' => 'things', 'pipeline' => [['$changeStream' => new stdClass()]], 'cursor' => new stdClass()];
    $cursor = $t->manager->executeCommand($t->name, new Command($command), ['maxAwaitTimeMS' => 300]);
    $cursor->rewind();
    $t->insert(['_id' => 'a']);
    for ($tries = 0; $tries < 100 && !$cursor->valid(); $tries++) {
        $cursor->next();
    }
    $event = $cursor->current();
    return [$event->operationType, $event->documentKey];
});
row('retryable writes: one retry after a lost connection', 'set', function (Trial $t) {
    $t->fill(1);
    $manager = $t->make(['retryWrites' => true]);
    $done = $t->failing(
        ['failCommands' => ['insert'], 'closeConnection' => true],
        fn () => caught(fn () => $t->write([['insert', [['_id' => 'again']]]], [], [], $manager)->getInsertedCount()),
    );
    return [$done, $t->count()];
});
row('retryable reads', 'any', function (Trial $t) {
    $t->fill(2);
    $data = ['failCommands' => ['find'], 'closeConnection' => true];
    return $t->failing($data, fn () => caught(fn () => $t->find(['_id' => 1])));
});
row('writeConcernError by the server', 'any', function (Trial $t) {
    $t->fill(1);
    $data = ['failCommands' => ['insert'], 'writeConcernError' => ['code' => 64, 'errmsg' => 'compat']];
    return $t->failing($data, fn () => caught(fn () => $t->insert(['_id' => 9])));
});
row('unacknowledged writes keep their order', 'any', function (Trial $t) {
    for ($n = 0; $n < 500; $n++) {
        $t->write([['insert', [['_id' => $n]]]], ['writeConcern' => new WriteConcern(0)]);
    }
    return $t->count();
});
row('read preferences and read concerns', 'any', function (Trial $t) {
    $t->write([['insert', [['_id' => 1]]]], ['writeConcern' => new WriteConcern('majority')]);
    $found = [];
    foreach (['primary', 'primaryPreferred', 'secondaryPreferred'] as $mode) {
        $found[$mode] = caught(fn () => count($t->find([], [], null, ['readPreference' => new ReadPreference($mode)])) <= 1);
    }
    foreach (['local', 'available', 'majority', 'linearizable'] as $level) {
        $found[$level] = caught(fn () => $t->find([], ['readConcern' => new ReadConcern($level)]));
    }
    return $found;
});
row('causal consistency and snapshot reads', 'set', function (Trial $t) {
    $session = $t->manager->startSession(['causalConsistency' => true]);
    $seen = [];
    for ($n = 0; $n < 3; $n++) {
        $t->write([['insert', [['_id' => $n]]]], ['session' => $session, 'writeConcern' => new WriteConcern('majority')]);
        $seen[] = count($t->find(['_id' => $n], [], null, ['session' => $session]));
    }
    $snapshot = $t->manager->startSession(['snapshot' => true]);
    $before = count($t->find([], [], null, ['session' => $snapshot]));
    $t->insert(['_id' => 'late']);
    return [$seen, $session->getOperationTime() !== null, $before, count($t->find([], [], null, ['session' => $snapshot]))];
});
row('tailable cursors', 'any', function (Trial $t) {
    $t->run(['create' => 'capped', 'capped' => true, 'size' => 100000]);
    $t->write([['insert', [['_id' => 1]]]], [], [], null, "$t->name.capped");
    $cursor = $t->manager->executeQuery("$t->name.capped", new Query([], ['tailable' => true, 'awaitData' => true, 'maxAwaitTimeMS' => 500]));
    $cursor->rewind();
    $seen = [$cursor->current()->_id];
    $t->write([['insert', [['_id' => 2]]]], [], [], null, "$t->name.capped");
    do {
        $cursor->next();
    } while (!$cursor->valid());
    return [...$seen, $cursor->current()->_id];
});
row('big documents, big inserts, big results', 'any', function (Trial $t) {
    $t->insert(['_id' => 'big', 'filler' => new BSON\Binary(str_repeat("\7", 16 * 1024 * 1024 - 40), 0)]);
    $filler = str_repeat('x', 999800);
    $t->write(array_map(fn ($n) => ['insert', [['_id' => $n, 'filler' => $filler]]], range(1, 47)));
    $total = 0;
    foreach ($t->find(['_id' => ['$ne' => 'big']]) as $document) {
        $total += strlen($document->filler);
    }
    return [$t->find(['_id' => 'big'])[0], $total];
});
row('error documents', 'any', function (Trial $t) {
    $t->fill(3);
    return [
        caught(fn () => $t->insert(['_id' => 1])),
        caught(fn () => $t->find(['$nonsense' => 1])),
        caught(fn () => $t->run(['find' => 'things', 'nonsense' => 1])),
        caught(fn () => $t->run(['validate' => 'nothing'])),
        caught(fn () => $t->find(['$where' => 'sleep(200) || true'], ['maxTimeMS' => 100])),
        caught(fn () => $t->find([], ['hint' => 'nothing'])),
    ];
});
row('versioned API', 'any', function (Trial $t) {
    $manager = $t->make([], ['serverApi' => new ServerApi('1', true, true)]);
    $strict = caught(fn () => $manager->executeCommand($t->name, new Command(['collStats' => 'things']))->toArray());
    return [$manager->executeCommand('admin', new Command(['ping' => 1]))->toArray()[0]->ok, $strict];
});
row('compressors asked for in the URI', 'any', function (Trial $t) {
    $found = [];
    foreach (['zlib', 'snappy', 'zstd'] as $name) {
        $manager = $t->make(['compressors' => $name]);
        $t->write([['insert', [['name' => $name, 'filler' => str_repeat('x', 50000)]]]], [], [], $manager);
        $found[$name] = strlen($manager->executeQuery($t->things, new Query(['name' => $name]))->toArray()[0]->filler);
    }
    return $found;
});
row('connectionStatus, stats, listDatabases', 'any', function (Trial $t) {
    $t->fill(3);
    $info = $t->run(['connectionStatus' => 1], 'admin')[0]->authInfo;
    $roles = array_map(fn ($role) => $role->role, $info->authenticatedUserRoles);
    sort($roles);
    $names = array_map(fn ($each) => $each->name, $t->run(['listDatabases' => 1], 'admin')[0]->databases);
    return [count($info->authenticatedUsers), $roles, in_array($t->name, $names, true), $t->run(['dbStats' => 1])[0]->objects];
});
row('killCursors and a lost cursor', 'any', function (Trial $t) {
    $t->fill(20);
    $id = $t->run(['ping' => 1]) ? $t->manager->executeQuery($t->things, new Query([], ['batchSize' => 2])) : null;
    $cursor = (int) (string) $id->getId();
    $killed = $t->run(['killCursors' => 'things', 'cursors' => [$cursor]])[0];
    return [count($killed->cursorsKilled), caught(fn () => iterator_count($id))];
});

echo json_encode(['version' => phpversion('mongodb')]), "\n";
foreach ($rows as [$name, $needs, $work]) {
    $wanted = $asked['rows'] ?? null;
    if ($wanted !== null && !array_filter($wanted, fn ($each) => str_starts_with($name, $each))) {
        continue;
    }
    $said = ['row' => $name, 'needs' => $needs];
    $began = microtime(true);
    try {
        $trial = new Trial($asked, 'compat_' . substr(preg_replace('/[^a-z0-9]/', '_', strtolower($name)), 0, 40));
        $trial->run(['dropDatabase' => 1]);
        $said['value'] = plain($work($trial));
        $trial->run(['dropDatabase' => 1]);
    } catch (Throwable $error) {
        $said['error'] = fault($error);
        $said['trace'] = $error->getTraceAsString();
    }
    $said['seconds'] = round(microtime(true) - $began, 1);
    echo json_encode($said, JSON_INVALID_UTF8_SUBSTITUTE), "\n";
}
