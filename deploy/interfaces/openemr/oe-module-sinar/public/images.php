<?php
// Leads whoever is signed in to OpenEMR, and may see medical records, to the patient's images in Sinar.

require_once __DIR__ . '/../../../../globals.php'; // sends whoever is not signed in to OpenEMR's sign-in page

use OpenEMR\Common\Acl\AclMain;

const SECONDS = 600;

$patient = $_GET['pid'] ?? '';
if (!AclMain::aclCheckCore('patients', 'med') || !is_string($patient) || !ctype_digit($patient)) {
    http_response_code(403);
    exit('You may not see the images of this patient.');
}
$config = require __DIR__ . '/../config.php';
$parameters = array_filter(['patientId' => $patient, 'issuer' => $config['issuer']]);
if ($config['secret'] !== '') {
    $parameters += ['client' => $config['client'], 'expires' => (string) (time() + SECONDS)];
    ksort($parameters, SORT_STRING);
    $lines = [$config['page']];
    foreach ($parameters as $name => $value) {
        $lines[] = "$name=$value";
    }
    $parameters['signature'] = hash_hmac('sha256', implode("\n", $lines), $config['secret']);
} else {
    unset($parameters['issuer']);
}
header('Referrer-Policy: no-referrer');
header('Cache-Control: no-store');
$query = http_build_query($parameters, '', '&', PHP_QUERY_RFC3986);
header("Location: {$config['url']}{$config['page']}?$query", true, 302);
