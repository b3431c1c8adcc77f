<?php
// Sends the order files that OpenEMR writes (protocol "Local Filesystem" or "SFTP") to an MLLP port, oldest first.
//
//     php send_orders.php FOLDER HOST [PORT]
//
// A file that was accepted goes to FOLDER/sent, one that was refused to FOLDER/refused with the reason beside it.
// Without an answer everything stays where it is, and the next run goes on. Run it every minute (cron).
// Ends with 0: all sent; 1: some refused; 2: wrongly called; 3: no connection or no answer.

const START = "\x0b", END = "\x1c\r", SETTLED_SECONDS = 2, ANSWER_SECONDS = 60;

function stop(int $code, string $why): never
{
    fwrite(STDERR, "$why\n");
    exit($code);
}

function put_aside(string $file, string $where): string
{
    $folder = dirname($file) . "/$where";
    is_dir($folder) || mkdir($folder, 0770) || stop(2, "$folder cannot be made.");
    // OpenEMR names a file after the order: sent again, it has the same name.
    ['filename' => $name, 'extension' => $kind] = pathinfo($file);
    $target = "$folder/$name-" . date('YmdHis') . substr((string) hrtime(true), -6) . ".$kind";
    rename($file, $target) || stop(2, "$file cannot be moved to $folder.");
    return $target;
}

function receive($connection): string
{
    $answer = '';
    while (!str_contains($answer, END)) {
        $more = fread($connection, 8192);
        if ($more === false || $more === '') {
            stop(3, 'No answer: the file stays, and is sent again by the next run.');
        }
        $answer .= $more;
    }
    return $answer;
}

if (PHP_SAPI !== 'cli') {
    exit(1);
}
[, $folder, $host, $port] = $argv + [1 => '', 2 => '', 3 => '2575'];
if (!is_dir($folder) || $host === '' || !ctype_digit($port)) {
    stop(2, 'php send_orders.php FOLDER HOST [PORT]');
}
$lock = fopen("$folder/.sending", 'c');
if (!$lock || !flock($lock, LOCK_EX | LOCK_NB)) {
    exit(0); // another run is at it
}

$waiting = [];
foreach ([...glob("$folder/*.txt"), ...glob("$folder/*.hl7")] as $file) {
    clearstatcache();
    // OpenEMR writes in place: what has just been touched may be half a message.
    if (time() - filemtime($file) >= SETTLED_SECONDS) {
        $waiting[$file] = filemtime($file);
    }
}
asort($waiting);
$connection = null;
$refused = 0;
foreach (array_keys($waiting) as $file) {
    $message = file_get_contents($file);
    if (!$connection) {
        $connection = @stream_socket_client("tcp://$host:$port", $number, $why, 10);
        $connection || stop(3, "$host:$port does not answer: $why");
        stream_set_timeout($connection, ANSWER_SECONDS);
    }
    fwrite($connection, START . $message . END);
    $answer = receive($connection);
    $fields = preg_match('/\rMSA\|([^\r]*)/', $answer, $found) ? explode('|', $found[1]) : [''];
    if (in_array($fields[0], ['AA', 'CA'], true)) {
        put_aside($file, 'sent');
        continue;
    }
    $refused++;
    $aside = put_aside($file, 'refused');
    file_put_contents("$aside.reason", trim($fields[0] . ' ' . ($fields[2] ?? '')) . "\n");
}
exit($refused ? 1 : 0);
