"""The morning mail: who asked for it, what is in it, how it is sent once, and how one leaves.

subscriptions              double opt-in, preferences, leaving          (tables: papers/people_schema.py)
schedule, digest           when a digest is due, and which papers are in it
message, signing           what is sent: text and HTML, the headers of RFC 8058, DKIM
smtp, delivery             one connection, one sender, each message once or marked unknown
sent                       what is remembered of messages, and for how long
bounces                    reports that come back: failures, complaints, people who write "unsubscribe"
postman                    single mails that a page sends: links to confirm, to sign in
"""
