INSERT INTO tidemill_demo.user_emails (email, verified) VALUES
  ('ann@example.com', false), ('bob@example.com', false), ('known@example.com', true);
