<?php
// Edit this file. Without a secret the links open Sinar's own sign-in page.
return [
    'url' => 'https://pacs.hospital.com',
    'client' => 'openemr', // API client in Sinar
    'secret' => '', // its signing secret (Signers of links)
    'issuer' => 'OPENEMR', // the assigning authority of the HL7 peer in Sinar
    'page' => '/worklist', // the list of the patient's studies; /viewer opens all of them
];
