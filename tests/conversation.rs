//! One script for every model, on a real server over real sockets.

mod support;

use support::{exchange, serve};

for_each_model! {
    /// The notes' conversation.
    fn answers_in_upper_case(model: &str) {
        let server = serve(model).start();
        let mut client = server.connect();
        exchange(&mut client, b"hello");
        drop(client);
        let ended = server.stop().clean();
        assert_eq!(ended.count("requests"), 1);
    }
}
