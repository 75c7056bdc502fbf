select number from tidemill._migrations;
