select identifier from tidemill.tasks limit 10000;
