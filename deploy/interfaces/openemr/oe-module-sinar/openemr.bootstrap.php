<?php
// Adds "Images" to the tabs of a patient's record. OpenEMR includes this file with $eventDispatcher in scope.

use OpenEMR\Menu\PatientMenuEvent;

$eventDispatcher->addListener(PatientMenuEvent::MENU_UPDATE, function (PatientMenuEvent $event): PatientMenuEvent {
    $item = new stdClass();
    $item->label = 'Images';
    $item->menu_id = 'sinar';
    $item->target = 'main';
    $item->url = ($GLOBALS['webroot'] ?? '') . '/interface/modules/custom_modules/oe-module-sinar/public/images.php?pid=';
    $item->pid = 'true'; // OpenEMR puts the patient's number behind the address
    $item->on_click = "window.open(this.href, '_blank', 'noopener'); return false;";
    $item->children = [];
    $item->requirement = 0;
    $item->acl_req = ['patients', 'med'];
    $menu = $event->getMenu();
    $menu[] = $item;
    $event->setMenu($menu);
    return $event;
});
