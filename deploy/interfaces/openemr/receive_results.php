<?php
// Takes reports (ORU^R01) over MLLP and writes each as a file that OpenEMR imports (protocol "Local Filesystem").
//
//     php receive_results.php FOLDER [PORT] [ADDRESS]
//
// Runs until it is stopped. A report is accepted when its file is on disk; one that comes again is not written again
// for thirty days, also when OpenEMR has imported and deleted the first. Segments that OpenEMR refuses are left out.

const START = "\x0b", END = "\x1c\r", LARGEST = 64 * 1024 * 1024, KEPT_SECONDS = 30 * 86400;
const READ_BY_OPENEMR = ['MSH', 'PID', 'PD1', 'PV1', 'ORC', 'OBR', 'NTE', 'OBX', 'SPM', 'TQ1', 'ZEF', 'ZPS'];

function stop(string $why): never
{
    fwrite(STDERR, "$why\n");
    exit(2);
}

/** What is answered to a message: an acknowledgment of original mode. */
function take(string $message, string $folder): string
{
    $segments = preg_split('/[\r\n]+/', $message, -1, PREG_SPLIT_NO_EMPTY);
    $header = explode('|', $segments[0] ?? '') + array_fill(0, 12, '');
    [$application, $facility, $receiver, $place, $kind, $id] = array_map(fn ($at) => $header[$at], [2, 3, 4, 5, 8, 9]);
    [$code, $why] = match (true) {
        $header[0] !== 'MSH' || $id === '' => ['AR', 'This is no message of HL7.'],
        !str_starts_with($kind, 'ORU') => ['AR', 'OpenEMR takes in reports (ORU) only.'],
        default => keep($segments, hash('sha256', $message), $folder) ? ['AA', ''] : ['AE', 'The file was not written.'],
    };
    $now = date('YmdHis');
    $event = explode('^', $kind)[1] ?? '';
    $first = "MSH|^~\\&|$receiver|$place|$application|$facility|$now||ACK^$event^ACK|" . hrtime(true) . '|P|2.5.1';
    return "$first\rMSA|$code|$id|$why\r";
}

/** Write the message to a file that is whole or not there; whether it is there, now or since it came before. */
function keep(array $segments, string $digest, string $folder): bool
{
    $seen = "$folder/.seen/$digest";
    if (file_exists($seen)) {
        return true;
    }
    $read = array_filter($segments, fn ($each) => in_array(substr($each, 0, 3), READ_BY_OPENEMR, true));
    $name = date('YmdHis-') . substr($digest, 0, 12);
    $file = @fopen("$folder/.$name", 'w');
    if (!$file) {
        return false;
    }
    $text = implode("\r", $read) . "\r";
    $written = fwrite($file, $text) === strlen($text) && fsync($file);
    fclose($file);
    return $written && rename("$folder/.$name", "$folder/$name.hl7") && touch($seen);
}

function forget(string $folder): void
{
    foreach (glob("$folder/.seen/*") as $each) {
        if (filemtime($each) < time() - KEPT_SECONDS) {
            unlink($each);
        }
    }
}

if (PHP_SAPI !== 'cli') {
    exit(1);
}
[, $folder, $port, $address] = $argv + [1 => '', 2 => '2576', 3 => '0.0.0.0'];
if (!is_dir($folder) || !ctype_digit($port)) {
    stop('php receive_results.php FOLDER [PORT] [ADDRESS]');
}
is_dir("$folder/.seen") || mkdir("$folder/.seen", 0770) || stop("$folder is not writable.");
$server = @stream_socket_server("tcp://$address:$port", $number, $why) ?: stop("$address:$port: $why");
$connections = $received = [];
$forgotten = 0;
while (true) {
    if (time() - $forgotten > 3600) {
        forget($folder);
        $forgotten = time();
    }
    $ready = [$server, ...$connections];
    $none = null;
    if (!stream_select($ready, $none, $none, 60)) {
        continue;
    }
    foreach ($ready as $each) {
        $key = (int) $each;
        if ($each === $server) {
            $new = @stream_socket_accept($server, 0);
            if ($new) {
                $connections[(int) $new] = $new;
                $received[(int) $new] = '';
            }
            continue;
        }
        $more = fread($each, 65536);
        if ($more === false || $more === '' || strlen($received[$key]) > LARGEST) {
            fclose($each);
            unset($connections[$key], $received[$key]);
            continue;
        }
        $received[$key] .= $more;
        while (($end = strpos($received[$key], END)) !== false) {
            $message = ltrim(substr($received[$key], 0, $end), START);
            $received[$key] = substr($received[$key], $end + strlen(END));
            fwrite($each, START . take($message, $folder) . END);
        }
    }
}
