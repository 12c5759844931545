# Runs the list of Perl's driver (2.2, its last) once: perl main.pl '{"uri": …, "admin_uri": …, "rows": […]}'. Prints one JSON
# object a line: first {"version"}, then {"row", "needs"} with value or error.
use strict;
use warnings;
use utf8;
use JSON::PP;
use MongoDB;
use BSON;
use Scalar::Util qw(blessed);
use Time::HiRes qw(time);
use boolean ();
use Tie::IxHash;

my $json = JSON::PP->new->canonical->allow_nonref->allow_blessed->convert_blessed;
my $asked = $json->decode($ARGV[0]);
my %volatile = map { $_ => 1 } qw($clusterTime operationTime topologyVersion localTime connectionId lastWrite electionId);
my @rows;
sub row { push @rows, [@_] }

sub ca_file { my ($uri) = @_; return $uri =~ /tlsCAFile=([^&]+)/ ? $1 : undef }

# This driver knows the older names of the TLS options, and its URI takes no file.
sub client {
    my ($uri, %more) = @_;
    my $ca = ca_file($uri);
    $uri =~ s/tlsCAFile=[^&]+&?//;
    $uri =~ s/\btls=true/ssl=true/;
    $uri =~ s/directConnection=[^&]+&?//;
    $ca =~ s/%([0-9A-Fa-f]{2})/chr hex $1/ge if $ca;
    return MongoDB->connect($uri, { server_selection_timeout_ms => 20000, server_selection_try_once => 0, ($ca ? (ssl => { SSL_ca_file => $ca }) : ()), %more });
}

sub plain {
    my ($value) = @_;
    return undef unless defined $value;
    if (my $class = blessed $value) {
        return $class =~ /OID|Timestamp/ ? $class : $value ? JSON::PP::true : JSON::PP::false if $class =~ /OID|Timestamp|Boolean|boolean/;
        return { map { $volatile{$_} ? () : ($_ => plain($value->{$_})) } keys %$value } if $value->isa('HASH') && $class =~ /Doc|Ordered|Result/;
        return "$class " . ($value->can('value') ? $value->value : "$value");
    }
    return [map { plain($_) } @$value] if ref $value eq 'ARRAY';
    return { map { $volatile{$_} ? () : ($_ => plain($value->{$_})) } keys %$value } if ref $value eq 'HASH';
    return $value;
}

sub fault {
    my ($error) = @_;
    return { error => 'perl', message => "$error" } unless blessed $error;
    my $message = $error->can('message') ? $error->message : "$error";
    $message =~ s/cursor id \d+/cursor id N/g;
    $message =~ s/Executor error during \w+( command)? :: caused by :: //;
    $message =~ s/(closed by remote server:).*/$1/s;
    $message =~ s/ at \S+ line \d+.*//s;
    return { error => ref $error, message => $message, ($error->can('code') ? (code => 0 + ($error->code // 0)) : ()) };
}

sub caught {
    my ($work) = @_;
    my $value = eval { plain($work->()) };
    return $@ ? fault($@) : $value;
}

sub failing {
    my ($data, $work) = @_;
    my $root = client($asked->{admin_uri});
    $root->get_database('admin')->run_command([configureFailPoint => 'failCommand', mode => { times => 1 }, data => $data]);
    my $value = caught($work);
    $root->get_database('admin')->run_command([configureFailPoint => 'failCommand', mode => 'off']);
    return $value;
}

sub fill { my ($t, $number) = @_; $t->{things}->insert_many([map { { _id => $_, n => $_, group => $_ % 5 } } 0 .. $number - 1]) }

row 'connect: ping, topology' => 'any', sub {
    my ($t) = @_;
    my $build = $t->{client}->get_database('admin')->run_command([buildInfo => 1]);
    return [$build->{version}, $t->{client}->topology_type];
};
row 'hello, field by field' => 'any', sub { my ($t) = @_; return plain($t->{db}->run_command([isMaster => 1])) };
row 'CRUD' => 'any', sub {
    my ($t) = @_;
    fill($t, 250);
    my $c = $t->{things};
    my $update = $c->update_many({ group => 2 }, { '$set' => { x => 1 } })->modified_count;
    my $upsert = $c->update_one({ _id => 'up' }, { '$set' => { y => 1 } }, { upsert => 1 })->upserted_id;
    my $delete = $c->delete_many({ group => 3 })->deleted_count;
    my @found = map { $_->{_id} } $c->find({ n => { '$lt' => 9 } }, { sort => [_id => 1], batchSize => 2 })->all;
    my $modified = $c->find_one_and_update({ _id => 1 }, { '$inc' => { n => 5 } }, { returnDocument => 'after' });
    return [$update, $upsert, $delete, \@found, $modified->{n}, $c->count_documents({}), scalar $c->distinct('group')->all];
};
row 'bulk writes with errors' => 'any', sub {
    my ($t) = @_;
    fill($t, 3);
    my $bulk = $t->{things}->ordered_bulk;
    $bulk->insert_one({ _id => 50 });
    $bulk->find({ _id => 1 })->update_one({ '$set' => { x => 1 } });
    my $done = $bulk->execute;
    return [$done->inserted_count, $done->modified_count, caught(sub { $t->{things}->insert_many([{ _id => 1 }, { _id => 99 }], { ordered => 0 }) }), $t->{things}->count_documents({})];
};
row 'aggregation, $out, indexes' => 'any', sub {
    my ($t) = @_;
    fill($t, 50);
    my @sums = $t->{things}->aggregate([{ '$group' => { _id => '$group', sum => { '$sum' => '$n' } } }, { '$sort' => { _id => 1 } }])->all;
    $t->{things}->aggregate([{ '$match' => { n => { '$lt' => 3 } } }, { '$out' => 'written' }])->all;
    my $name = $t->{things}->indexes->create_one([n => 1]);
    return [\@sums, $t->{db}->get_collection('written')->count_documents({}), $name, [map { $_->{name} } $t->{things}->indexes->list->all]];
};
row 'transactions: commit and abort' => 'set', sub {
    my ($t) = @_;
    fill($t, 3);
    my $session = $t->{client}->start_session;
    $session->start_transaction;
    $t->{things}->update_one({ _id => 1 }, { '$inc' => { n => 100 } }, { session => $session });
    my $outside = $t->{things}->find_one({ _id => 1 })->{n};
    $session->commit_transaction;
    $session->start_transaction;
    $t->{things}->delete_many({}, { session => $session });
    $session->abort_transaction;
    $session->end_session;
    return [$outside, $t->{things}->count_documents({})];
};
row 'change streams' => 'set', sub {
    my ($t) = @_;
    fill($t, 1);
    my $stream = $t->{things}->watch([], { maxAwaitTimeMS => 300 });
    $t->{things}->insert_one({ _id => 'a' });
    my $event;
    for (1 .. 100) { last if $event = $stream->next }
    return [$event->{operationType}, $event->{documentKey}];
};
row 'retryable writes: one retry after a lost connection' => 'set', sub {
    my ($t) = @_;
    fill($t, 1);
    my $things = client($asked->{uri}, retry_writes => 1)->get_database($t->{name})->get_collection('things');
    my $done = failing({ failCommands => ['insert'], closeConnection => boolean::true }, sub { $things->insert_one({ _id => 'again' })->inserted_id });
    return [$done, $t->{things}->count_documents({})];
};
# This driver sends the old message for them, which servers from 5.1 on hang up on.
row 'unacknowledged writes' => 'legacy', sub {
    my ($t) = @_;
    my $loose = $t->{db}->get_collection('things', { write_concern => { w => 0 } });
    $loose->insert_one({ _id => $_ }) for 1 .. 3;
    return $t->{things}->count_documents({});
};
row 'GridFS, a big document, a big result' => 'any', sub {
    my ($t) = @_;
    my $bucket = $t->{db}->gfs;
    open my $content, '<', \('x' x 2_000_000);
    my $id = $bucket->upload_from_stream('file', $content);
    my $stream = $bucket->open_download_stream($id);
    my $whole = do { local $/; $stream->readline };
    $t->{things}->insert_one({ _id => 1, filler => 'y' x (16 * 1024 * 1024 - 40) });
    $t->{things}->insert_many([map { { _id => $_, filler => 'z' x 200_000 } } 2 .. 100]);
    my $total = 0;
    $total += length $_->{filler} for $t->{things}->find->all;
    return [length $whole, $total];
};
row 'error documents' => 'any', sub {
    my ($t) = @_;
    fill($t, 3);
    return [
        caught(sub { $t->{things}->insert_one({ _id => 1 }) }),
        caught(sub { $t->{things}->find({ '$nonsense' => 1 })->all }),
        caught(sub { $t->{db}->run_command([find => 'things', nonsense => 1]) }),
        caught(sub { $t->{things}->find({ '$where' => 'sleep(200) || true' }, { maxTimeMS => 100 })->all }),
    ];
};
row 'read preferences' => 'any', sub {
    my ($t) = @_;
    fill($t, 2);
    return { map { my $mode = $_; $mode => caught(sub { defined client($asked->{uri}, read_pref_mode => $mode)->get_database('admin')->run_command([ping => 1]) ? 'served' : 'no' }) } qw(primary primaryPreferred secondaryPreferred nearest) };
};
row 'connectionStatus, listDatabases' => 'any', sub {
    my ($t) = @_;
    fill($t, 1);
    my $info = $t->{client}->get_database('admin')->run_command([connectionStatus => 1])->{authInfo};
    return [scalar @{ $info->{authenticatedUsers} }, [sort map { $_->{role} } @{ $info->{authenticatedUserRoles} }], scalar grep { $_ eq $t->{name} } $t->{client}->database_names];
};

$SIG{PIPE} = "IGNORE";  # a server that does not know a legacy message closes the socket
$| = 1;
print $json->encode({ version => $MongoDB::VERSION }), "\n";
for my $each (@rows) {
    my ($name, $needs, $work) = @$each;
    next if $asked->{rows} && !grep { index($name, $_) == 0 } @{ $asked->{rows} };
    my %said = (row => $name, needs => $needs);
    my $began = time;
    (my $letters = lc $name) =~ s/[^a-z0-9]/_/g;
    eval {
        my $client = client($asked->{uri});
        my $database = 'compat_' . substr($letters, 0, 40);
        my $db = $client->get_database($database);
        $db->drop;
        $said{value} = plain($work->({ client => $client, db => $db, name => $database, things => $db->get_collection('things') }));
        $db->drop;
        1;
    } or do { $said{error} = fault($@); $said{trace} = substr("$@", 0, 500) };
    $said{seconds} = 0 + sprintf '%.1f', time - $began;
    print $json->encode(\%said), "\n";
}
