from gnomon.server.children import main

main()
